// Automerge-repo: one document, its entries in a map, between a repo behind a WebSocket server and one that dials it,
// both with the storage adapter for files.

import { serve, versionsOf } from './lines.mjs'
import { Repo } from '@automerge/automerge-repo'
import { WebSocketClientAdapter, WebSocketServerAdapter } from '@automerge/automerge-repo-network-websocket'
import { NodeFSStorageAdapter } from '@automerge/automerge-repo-storage-nodefs'
import { EventEmitter } from 'node:events'
import { WebSocketServer } from 'ws'

class AutomergePeer {
  arrived = new EventEmitter()
  #repo
  #handle
  #kept = 0

  async open ({ folder, side }) {
    const storage = new NodeFSStorageAdapter(folder)
    if (side === 'target') {
      this.#repo = new Repo({ storage })
      return {}
    }
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
    await new Promise(resolve => { server.once('listening', resolve) })
    const network = [new WebSocketServerAdapter(server)]
    // A server does not announce documents to whoever connects: who knows the address asks.
    this.#repo = new Repo({ storage, network, sharePolicy: async () => false })
    this.#handle = this.#repo.create({ entries: {} })
    return { url: `ws://127.0.0.1:${server.address().port}`, document: this.#handle.url }
  }

  meet (card) { this.card = card }

  async fill (entries) {
    this.#handle.change(document => { for (const [key, value] of entries) document.entries[key] = value })
    await this.#repo.flush()
  }

  async connect () {
    this.#repo.networkSubsystem.addNetworkAdapter(new WebSocketClientAdapter(this.card.url))
    this.#handle = await this.#repo.find(this.card.document)
    this.#handle.on('change', () => this.arrived.emit('arrived'))
  }

  async count () {
    const size = Object.keys(this.#handle.doc()?.entries ?? {}).length
    if (size !== this.#kept) await this.#repo.flush()
    this.#kept = size
    return size
  }

  async put (key, value) {
    this.#handle.change(document => { document.entries[key] = value })
    await this.#repo.flush()
  }

  async get (key) { return this.#handle.doc().entries[key] }

  async entries () { return Object.entries(this.#handle.doc().entries) }
}

await serve(new AutomergePeer(), versionsOf('@automerge/automerge', '@automerge/automerge-repo'))
