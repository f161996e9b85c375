// Yjs: one document, its entries in a Y.Map, between y-websocket's server and its provider. With the argument
// `leveldb` both sides keep the document with y-leveldb, as the server does when it is given YPERSISTENCE.

import { serve, versionsOf } from './lines.mjs'
import { EventEmitter } from 'node:events'
import { createServer } from 'node:http'
import { join } from 'node:path'
import WebSocket, { WebSocketServer } from 'ws'
import { LeveldbPersistence } from 'y-leveldb'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'

const ROOM = 'entries'
const durable = process.argv[2] === 'leveldb'

class YjsPeer {
  arrived = new EventEmitter()
  #doc
  #stored = Promise.resolve()

  async open ({ folder, side }) {
    const kept = durable ? new LeveldbPersistence(join(folder, 'level')) : null
    if (side === 'target') {
      this.#doc = new Y.Doc()
      this.#keep(kept)
      return {}
    }
    const { getYDoc, setupWSConnection } = await import('@y/websocket-server/utils')
    this.#doc = getYDoc(ROOM)
    this.#keep(kept)
    const server = createServer()
    new WebSocketServer({ server }).on('connection', setupWSConnection)
    await new Promise(resolve => { server.listen(0, '127.0.0.1', resolve) })
    return { url: `ws://127.0.0.1:${server.address().port}` }
  }

  meet (card) { this.url = card.url }

  async fill (entries) {
    this.#doc.transact(() => { for (const [key, value] of entries) this.#map.set(key, value) })
    await this.#stored
  }

  async connect () {
    new WebsocketProvider(this.url, ROOM, this.#doc, { WebSocketPolyfill: WebSocket, disableBc: true })
  }

  async count () {
    const size = this.#map.size
    await this.#stored
    return size
  }

  async put (key, value) {
    this.#map.set(key, value)
    await this.#stored
  }

  async get (key) {
    const value = this.#map.get(key)
    await this.#stored
    return value
  }

  async entries () { return [...this.#map.entries()] }

  get #map () { return this.#doc.getMap('entries') }

  #keep (kept) {
    this.#doc.on('update', update => {
      if (kept) this.#stored = kept.storeUpdate(ROOM, update)
      this.arrived.emit('arrived')
    })
  }
}

await serve(new YjsPeer(), versionsOf('yjs', 'y-websocket', '@y/websocket-server', ...durable ? ['y-leveldb'] : []))
