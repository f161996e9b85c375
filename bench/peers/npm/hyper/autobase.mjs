// Autobase: the logs of many writers made one Hyperbee. One writes here, the other follows, as any member may.

import { serve, versionsOf } from './lines.mjs'
import Autobase from 'autobase'
import Corestore from 'corestore'
import Hyperbee from 'hyperbee'
import { EventEmitter, once } from 'node:events'
import { dial, listen } from './wire.mjs'

const BATCH = 1000
const VIEW = {
  valueEncoding: 'json',
  open: store => new Hyperbee(store.get('view'), { extension: false, keyEncoding: 'utf-8', valueEncoding: 'utf-8' }),
  apply: async (nodes, view) => {
    const batch = view.batch({ update: false })
    for (const { value } of nodes) await batch.put(value.key, value.value)
    await batch.flush()
  }
}

class AutobasePeer {
  arrived = new EventEmitter()
  #store
  #base
  #held = 0

  async open ({ folder, side }) {
    this.#store = new Corestore(folder)
    if (side === 'target') return {}
    await this.#open(null)
    return { ...await listen(this.#store), key: this.#base.key.toString('hex') }
  }

  async meet (card) {
    if (!card.key) return
    this.card = card
    await this.#open(Buffer.from(card.key, 'hex'))
  }

  async fill (entries) {
    for (let start = 0; start < entries.length; start += BATCH) {
      await this.#base.append(entries.slice(start, start + BATCH).map(([key, value]) => ({ key, value })))
    }
    await this.#base.update()
    return { length: this.#base.view.core.length }
  }

  async connect ({ length }) {
    dial(this.#store, this.card)
    const core = this.#base.view.core
    for (;;) {
      const change = once(this.arrived, 'arrived')
      await this.#base.update()
      if (core.length >= length) break
      await change
    }
    await core.download({ start: 0, end: length }).done()
    this.#held = length - 1
  }

  async count () { return this.#held }

  async put (key, value) { await this.#base.append({ key, value }) }

  async get (key) { return (await this.#base.view.get(key))?.value }

  async entries () {
    const found = []
    for await (const { key, value } of this.#base.view.createReadStream()) found.push([key, value])
    return found
  }

  async #open (key) {
    this.#base = new Autobase(this.#store, key, VIEW)
    await this.#base.ready()
    this.#base.on('update', () => this.arrived.emit('arrived'))
  }
}

await serve(new AutobasePeer(), versionsOf('autobase', 'hypercore', 'hyperbee', 'corestore'))
