// GUN: the entries as properties of one node, between two peers over a WebSocket, both with Radisk on disk. Its
// multicast and AXE, which look for other peers, are off.

import { serve, versionsOf } from './lines.mjs'
import Gun from 'gun'
import { EventEmitter } from 'node:events'
import { createServer } from 'node:http'
import { join } from 'node:path'

const ALONE = { multicast: false, axe: false, stats: false, localStorage: false }
const AT_ONCE = 500

class GunPeer {
  arrived = new EventEmitter()
  #gun
  #held = new Map()

  async open ({ folder, side }) {
    const file = join(folder, 'radata')
    if (side === 'target') {
      this.file = file
      return {}
    }
    const server = createServer()
    await new Promise(resolve => { server.listen(0, '127.0.0.1', resolve) })
    this.#gun = Gun({ ...ALONE, file, web: server })
    return { url: `http://127.0.0.1:${server.address().port}/gun` }
  }

  meet (card) { this.url = card.url }

  async fill (entries) {
    for (let start = 0; start < entries.length; start += AT_ONCE) {
      await Promise.all(entries.slice(start, start + AT_ONCE).map(([key, value]) => this.put(key, value)))
    }
  }

  async connect () {
    this.#gun = Gun({ ...ALONE, file: this.file, peers: [this.url] })
    this.#gun.get('entries').map().on((value, key) => {
      this.#held.set(key, value)
      this.arrived.emit('arrived')
    })
  }

  async count () { return this.#held.size }

  async put (key, value) {
    this.#held.set(key, value)
    await new Promise((resolve, reject) => {
      this.#gun.get('entries').get(key).put(value, ({ err }) => { if (err) reject(new Error(err)); else resolve() })
    })
  }

  async get (key) { return this.#held.get(key) }

  async entries () { return [...this.#held] }
}

await serve(new GunPeer(), versionsOf('gun'))
