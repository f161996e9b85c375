// PouchDB: a document an entry, over HTTP from a PouchDB server (express-pouchdb) to a PouchDB that replicates, live
// after the first pass; both on LevelDB.

import { serve, versionsOf } from './lines.mjs'
import express from 'express'
import expressPouch from 'express-pouchdb'
import { EventEmitter } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import PouchDB from 'pouchdb'

const BATCH = 1000

class PouchPeer {
  arrived = new EventEmitter()
  #db
  #held = 0

  async open ({ folder, side }) {
    mkdirSync(join(folder, 'data'), { recursive: true })
    const Kept = PouchDB.defaults({ prefix: join(folder, 'data/') })
    this.#db = new Kept('entries')
    if (side === 'target') return {}
    const app = express()
    app.use(expressPouch(Kept, {
      mode: 'minimumForPouchDB', inMemoryConfig: true, logPath: join(folder, 'log.txt')
    }))
    const server = await new Promise(resolve => { const one = app.listen(0, '127.0.0.1', () => resolve(one)) })
    return { url: `http://127.0.0.1:${server.address().port}/entries` }
  }

  meet (card) { this.url = card.url }

  async fill (entries) {
    for (let start = 0; start < entries.length; start += BATCH) {
      await this.#db.bulkDocs(entries.slice(start, start + BATCH).map(([_id, value]) => ({ _id, value })))
    }
  }

  async connect () {
    const done = this.#db.replicate.from(this.url)
    done.on('change', ({ docs_written: written }) => { this.#held = written })
    await done
    this.#db.replicate.from(this.url, { live: true }).on('change', () => this.arrived.emit('arrived'))
  }

  async count () { return this.#held }

  async put (key, value) {
    const { _rev } = await this.#db.get(key).catch(() => ({}))
    await this.#db.put(_rev ? { _id: key, _rev, value } : { _id: key, value })
  }

  async get (key) { return (await this.#db.get(key).catch(() => null))?.value }

  async entries () {
    return (await this.#db.allDocs({ include_docs: true })).rows.map(({ doc }) => [doc._id, doc.value])
  }
}

await serve(new PouchPeer(), versionsOf('pouchdb', 'express-pouchdb'))
