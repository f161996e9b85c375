// OrbitDB: a key-value database on Helia, blocks and heads in LevelDB, over TCP with Noise and Yamux. Helia is put
// together from its parts because the ready-made one brings WebRTC, whose binary is no part of its npm package.

import { serve, versionsOf } from './lines.mjs'
import { gossipsub } from '@chainsafe/libp2p-gossipsub'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { bitswap } from '@helia/block-brokers'
import { Helia } from '@helia/utils'
import { identify } from '@libp2p/identify'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createOrbitDB } from '@orbitdb/core'
import { LevelBlockstore } from 'blockstore-level'
import { MemoryDatastore } from 'datastore-core'
import { createLibp2p } from 'libp2p'
import { EventEmitter } from 'node:events'
import { join } from 'node:path'

// Some of libp2p's packages take Node 22's for granted; OrbitDB 3 is for Node 20.
Promise.withResolvers ??= () => {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}

class OrbitPeer {
  arrived = new EventEmitter()
  #libp2p
  #orbit
  #db
  #stale = true
  #held = 0

  async open ({ folder, side }) {
    const datastore = new MemoryDatastore()
    this.#libp2p = await createLibp2p({
      datastore,
      addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
      services: { identify: identify(), pubsub: gossipsub({ allowPublishToZeroTopicPeers: true }) }
    })
    const ipfs = new Helia({
      libp2p: this.#libp2p,
      datastore,
      blockstore: new LevelBlockstore(join(folder, 'blocks')),
      blockBrokers: [bitswap()]
    })
    await ipfs.start()
    this.#orbit = await createOrbitDB({ ipfs, id: side, directory: join(folder, 'orbitdb') })
    if (side === 'target') return {}
    await this.#open('entries')
    return { addresses: this.#libp2p.getMultiaddrs().map(String), database: this.#db.address }
  }

  meet (card) { this.card = card }

  async fill (entries) { for (const [key, value] of entries) await this.#db.put(key, value) }

  async connect () {
    await this.#libp2p.dial(multiaddr(this.card.addresses[0]))
    await this.#open(this.card.database)
  }

  async count () {
    if (this.#db && this.#stale) {
      this.#stale = false
      this.#held = (await this.#db.all()).length
    }
    return this.#held
  }

  async put (key, value) { await this.#db.put(key, value) }

  async get (key) { return this.#db.get(key) }

  async entries () { return (await this.#db.all()).map(({ key, value }) => [key, value]) }

  async #open (name) {
    this.#db = await this.#orbit.open(name, { type: 'keyvalue' })
    this.#db.events.on('update', () => {
      this.#stale = true
      this.arrived.emit('arrived')
    })
  }
}

await serve(new OrbitPeer(), versionsOf('@orbitdb/core', '@helia/utils', 'libp2p', '@chainsafe/libp2p-gossipsub'))
