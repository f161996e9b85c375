// Hyperbee: one writer's key-value tree on a Hypercore, all of whose blocks the target downloads.

import { serve, versionsOf } from './lines.mjs'
import Corestore from 'corestore'
import Hyperbee from 'hyperbee'
import { EventEmitter } from 'node:events'
import { dial, listen } from './wire.mjs'

const ENCODING = { keyEncoding: 'utf-8', valueEncoding: 'utf-8' }

class HyperbeePeer {
  arrived = new EventEmitter()
  #store
  #bee
  #held = 0

  async open ({ folder, side }) {
    this.#store = new Corestore(folder)
    if (side === 'target') return {}
    await this.#open(this.#store.get({ name: 'entries' }))
    return { ...await listen(this.#store), key: this.#bee.core.key.toString('hex') }
  }

  async meet (card) {
    if (!card.key) return
    this.card = card
    await this.#open(this.#store.get({ key: Buffer.from(card.key, 'hex') }))
  }

  async fill (entries) {
    const batch = this.#bee.batch()
    for (const [key, value] of entries) await batch.put(key, value)
    await batch.flush()
    return { length: this.#bee.core.length }
  }

  async connect ({ length }) {
    dial(this.#store, this.card)
    await this.#bee.core.download({ start: 0, end: length }).done()
    // Blocks arrive whole and in the tree; what is not an entry is the header.
    this.#held = length - 1
    this.#bee.core.download({ start: length, end: -1 })
  }

  async count () { return this.#held }

  async put (key, value) { await this.#bee.put(key, value) }

  async get (key) { return (await this.#bee.get(key))?.value }

  async entries () {
    const found = []
    for await (const { key, value } of this.#bee.createReadStream()) found.push([key, value])
    return found
  }

  async #open (core) {
    this.#bee = new Hyperbee(core, ENCODING)
    await this.#bee.ready()
    core.on('append', () => this.arrived.emit('arrived'))
    core.on('download', () => this.arrived.emit('arrived'))
  }
}

await serve(new HyperbeePeer(), versionsOf('hypercore', 'hyperbee', 'corestore'))
