// A network of js-libp2p nodes on loopback, each a server of the hash table, driven by lines of JSON on stdin.
// First line out: {"addresses": [...]}; then one answer for each line in. Ends when stdin does.
import { createInterface } from 'node:readline'

// js-libp2p counts on this, which Node has from version 22.
Promise.withResolvers ??= function () {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}

const { noise } = await import('@chainsafe/libp2p-noise')
const { yamux } = await import('@chainsafe/libp2p-yamux')
const { identify } = await import('@libp2p/identify')
const { kadDHT, passthroughMapper } = await import('@libp2p/kad-dht')
const { ping } = await import('@libp2p/ping')
const { tcp } = await import('@libp2p/tcp')
const { multiaddr } = await import('@multiformats/multiaddr')
const { createLibp2p } = await import('libp2p')
const { CID } = await import('multiformats/cid')
const Digest = await import('multiformats/hashes/digest')

const RECORD = '/cis/record/1'
const RAW = 0x55
const TIMEOUT_MS = 10000
const nodes = []
const asked = []

function say (what) {
  process.stdout.write(JSON.stringify(what) + '\n')
}

function cidOf (key) {
  return CID.createV1(RAW, Digest.decode(Buffer.from(key, 'hex')))
}

async function makeNode () {
  const node = await createLibp2p({
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false },
    services: {
      identify: identify({ maxOutboundStreams: 8 }), // `protocols` asks while it asks by itself
      ping: ping(),
      dht: kadDHT({ protocol: '/ipfs/kad/1.0.0', clientMode: false, peerInfoMapper: passthroughMapper })
    }
  })
  nodes.push(node)
  return node
}

async function readAll (stream) {
  const parts = []
  for await (const part of stream) {
    parts.push(part.subarray())
  }
  return Buffer.concat(parts)
}

const commands = {
  // Hands out `answer`, whatever the tag, and tells which tags were asked for.
  async serve ({ node, answer }) {
    await nodes[node].handle(RECORD, async (stream) => {
      for await (const part of stream) {
        asked.push(Buffer.from(part.subarray()).toString('hex'))
        break
      }
      stream.send(Buffer.from(answer, 'hex'))
      await stream.close()
    })
    return {}
  },
  async provide ({ node, key }) {
    let told = 0
    for await (const event of nodes[node].services.dht.provide(cidOf(key), { signal: AbortSignal.timeout(TIMEOUT_MS) })) {
      told += event.name === 'PEER_RESPONSE' && event.messageName === 'ADD_PROVIDER' ? 1 : 0
    }
    return { told }
  },
  async providers ({ node, key }) {
    const found = new Map()
    try {
      for await (const event of nodes[node].services.dht.findProviders(cidOf(key), { signal: AbortSignal.timeout(TIMEOUT_MS) })) {
        for (const one of event.name === 'PROVIDER' || event.name === 'PEER_RESPONSE' ? event.providers : []) {
          found.set(one.id.toString(), one.multiaddrs.map(String))
        }
      }
    } catch {
      // What was found before the time was up counts.
    }
    return { providers: [...found] }
  },
  // Asks somebody at an address for a tag; what came, and which protocols the other side says it speaks.
  async ask ({ node, address, tag }) {
    const signal = AbortSignal.timeout(TIMEOUT_MS)
    const stream = await nodes[node].dialProtocol(multiaddr(address), RECORD, { signal })
    stream.send(Buffer.from(tag, 'hex'))
    try {
      return { answer: (await readAll(stream)).toString('hex') }
    } catch (error) {
      return { answer: '', reset: error.name }
    }
  },
  async protocols ({ node, address }) {
    const connection = await nodes[node].dial(multiaddr(address))
    const result = await nodes[node].services.identify.identify(connection)
    return { protocols: result.protocols, addresses: result.listenAddrs.map(String) }
  },
  async peers ({ node }) {
    return { peers: nodes[node].getPeers().map(String) }
  },
  async asked () {
    return { asked }
  },
  async stop ({ nodes: which }) {
    await Promise.all(which.map((index) => nodes[index].stop()))
    return {}
  }
}

for (let made = 0; made < Number(process.argv[2]); made++) {
  const node = await makeNode()
  for (const other of nodes.slice(0, -1).slice(-3)) {
    await node.dial(other.getMultiaddrs())
  }
}
say({ addresses: nodes.map((node) => node.getMultiaddrs()[0].toString()) })

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...rest } = JSON.parse(line)
  try {
    say(await commands[command](rest))
  } catch (error) {
    say({ error: `${error.name}: ${error.message}` })
  }
}
process.exit(0)
