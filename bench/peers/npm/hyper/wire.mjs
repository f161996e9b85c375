// A Corestore's replication stream over TCP on loopback. Its docs advise Hyperswarm, which would look peers up in a
// hash table; the stream that it would carry is the same, encrypted and authenticated by Noise.

import { connect, createServer } from 'node:net'

/** Listen; return where. */
export async function listen (store) {
  const server = createServer(socket => join(store, socket, false))
  await new Promise(resolve => { server.listen(0, '127.0.0.1', resolve) })
  return { port: server.address().port }
}

/** Connect to whoever listens there. */
export function dial (store, { port }) {
  join(store, connect(port, '127.0.0.1'), true)
}

function join (store, socket, initiator) {
  socket.setNoDelay(true)
  const stream = store.replicate(initiator)
  for (const one of [socket, stream]) one.on('error', error => console.error(error.message))
  stream.pipe(socket).pipe(stream)
}
