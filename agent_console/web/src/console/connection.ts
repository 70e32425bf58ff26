/**
 * The websocket of `/ws/agent`: commands with their answers, queue messages with their ids, and the way back after a
 * lost connection. It knows nothing of Vue. See docs/console-protocol.md.
 */
import type { ClientMessage, ErrorMessage, LocalizedText, ServerMessage, Snapshot } from '../protocol'

const FIRST_DELAY = 1_000 // ms
const LONGEST_DELAY = 30_000 // ms
const RESTART_DELAY = 4_000 // ms; after 1001 and 1012 all consoles come back, so they spread over this
const QUIET = 20_000 // ms without a message, after which we ask whether the server is still there
const ANSWER_TIME = 10_000 // ms for the answer to a ping or to hello
const COMMAND_TIME = 30_000 // ms for the answer to a command

const GOING_AWAY = 1001
const SERVICE_RESTART = 1012
const SESSION_ENDED = 4401

export type ConnectionState = 'connecting' | 'online' | 'waiting' | 'ended'

type Unsent<T> = T extends { request_id: string } ? Omit<T, 'request_id'> : never
export type Command = Unsent<Exclude<ClientMessage, { type: 'hello' | 'ping' }>>
export type Answer = Extract<ServerMessage, { type: 'ack' | 'opened' }>
export type QueueMessage = Extract<ServerMessage, { type: 'offer' | 'offer_gone' | 'appeal_changed' | 'status' }>

/** A command that the server refused; it changed nothing. */
export class CommandError extends Error {
  readonly code: ErrorMessage['code']
  readonly text: LocalizedText
  readonly incident: string | null
  constructor(answer: ErrorMessage) {
    super(answer.code)
    this.code = answer.code
    this.text = answer.message
    this.incident = answer.incident
  }
}

/** The connection went before the answer came: whether the command was carried out is not known. */
export class ConnectionLostError extends Error {}

/** What the desk does with what arrives. */
export interface Desk {
  state(state: ConnectionState, retryAt: number | null): void
  snapshot(snapshot: Snapshot): void
  queueMessage(message: QueueMessage): void
  /** The session ended: log in again. */
  ended(): void
  /** False: the session is over. Throws if the server cannot be reached. */
  sessionLives(): Promise<boolean>
}

interface Waiting {
  resolve(answer: Answer): void
  reject(reason: Error): void
  timer: ReturnType<typeof setTimeout>
}

export class Connection {
  private socket: WebSocket | null = null
  private readonly waiting = new Map<string, Waiting>()
  private lastId: string | null = null
  private failures = 0
  private requests = 0
  private retryTimer: ReturnType<typeof setTimeout> | undefined
  private quietTimer: ReturnType<typeof setTimeout> | undefined
  private state: ConnectionState = 'ended'

  constructor(
    private readonly desk: Desk,
    private readonly openSocket: () => WebSocket = () => new WebSocket(socketUrl(location)),
    private readonly random: () => number = Math.random,
  ) {}

  /** Connect, and stay connected until `stop`. */
  start(): void {
    if (this.state !== 'ended') return
    this.failures = 0
    this.connect()
  }

  /** Close for good; the next `start` begins afresh. */
  stop(): void {
    this.lastId = null
    this.end()
  }

  /** Do not wait for the next try: the network is back, or somebody asked. */
  retryNow(): void {
    if (this.state === 'waiting') void this.reconnect()
  }

  /** Send a command; its answer, or CommandError, or ConnectionLostError. */
  request(command: Command): Promise<Answer> {
    const socket = this.socket
    if (this.state !== 'online' || socket === null) return Promise.reject(new ConnectionLostError())
    return new Promise((resolve, reject) => {
      const id = this.nextId()
      const timer = setTimeout(() => this.drop(socket), COMMAND_TIME)
      this.waiting.set(id, { resolve, reject, timer })
      socket.send(JSON.stringify({ ...command, request_id: id }))
    })
  }

  private connect(): void {
    this.enter('connecting')
    const socket = this.openSocket()
    this.socket = socket
    socket.onopen = () => {
      socket.send(JSON.stringify({ type: 'hello', request_id: this.nextId(), after_id: this.lastId }))
      this.watchSilence(socket)
    }
    socket.onmessage = (event: MessageEvent<string>) => this.receive(socket, event.data)
    socket.onclose = (event) => this.closed(socket, event.code)
  }

  private receive(socket: WebSocket, data: string): void {
    if (socket !== this.socket) return
    this.handle(JSON.parse(data) as ServerMessage)
    this.watchSilence(socket)
  }

  private handle(message: ServerMessage): void {
    switch (message.type) {
      case 'welcome':
        this.failures = 0
        this.enter('online')
        this.takeSnapshot(message.snapshot)
        break
      case 'snapshot':
        this.takeSnapshot(message.snapshot)
        break
      case 'ack':
      case 'opened':
        this.settle(message.request_id)?.resolve(message)
        break
      case 'error':
        if (message.request_id !== null) this.settle(message.request_id)?.reject(new CommandError(message))
        break
      case 'offer':
      case 'offer_gone':
      case 'appeal_changed':
      case 'status':
        this.lastId = message.id
        this.desk.queueMessage(message)
        break
      case 'pong':
        break // any message tells that the server is there
    }
  }

  private takeSnapshot(snapshot: Snapshot): void {
    this.lastId = snapshot.tail_id
    this.desk.snapshot(snapshot)
  }

  private settle(id: string): Waiting | undefined {
    const entry = this.waiting.get(id)
    if (entry !== undefined) {
      this.waiting.delete(id)
      clearTimeout(entry.timer)
    }
    return entry
  }

  /** Ping after a silence; a server that does not answer is gone, whatever the operating system still believes. */
  private watchSilence(socket: WebSocket): void {
    clearTimeout(this.quietTimer)
    if (socket !== this.socket) return
    const patience = this.state === 'online' ? QUIET : ANSWER_TIME
    this.quietTimer = setTimeout(() => {
      if (this.state !== 'online') return this.drop(socket)
      socket.send(JSON.stringify({ type: 'ping', request_id: this.nextId() }))
      this.quietTimer = setTimeout(() => this.drop(socket), ANSWER_TIME)
    }, patience)
  }

  /** Give a socket up without waiting for its closing handshake, which a dead peer never answers. */
  private drop(socket: WebSocket): void {
    if (socket !== this.socket) return
    socket.close()
    this.closed(socket, 0)
  }

  private closed(socket: WebSocket, code: number): void {
    if (socket !== this.socket) return
    this.socket = null
    clearTimeout(this.quietTimer)
    this.rejectWaiting()
    if (code === SESSION_ENDED) return this.sessionOver()
    this.retryLater(code === GOING_AWAY || code === SERVICE_RESTART ? FIRST_DELAY + this.random() * RESTART_DELAY : undefined)
  }

  /** Exponential back-off with jitter, so that a thousand consoles do not come back in the same second. */
  private retryLater(chosen?: number): void {
    const ceiling = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.failures)
    const delay = chosen ?? ceiling * (0.5 + this.random() / 2)
    this.failures += 1
    this.enter('waiting', Date.now() + delay)
    clearTimeout(this.retryTimer)
    this.retryTimer = setTimeout(() => void this.reconnect(), delay)
  }

  /** Ask over HTTP first: a browser does not tell a websocket's 401 from a server that is down. */
  private async reconnect(): Promise<void> {
    clearTimeout(this.retryTimer)
    this.enter('connecting')
    let lives: boolean
    try {
      lives = await this.desk.sessionLives()
    } catch {
      if (this.state === 'connecting') this.retryLater()
      return
    }
    if (this.state !== 'connecting') return // stopped meanwhile
    if (lives) this.connect()
    else this.sessionOver()
  }

  private sessionOver(): void {
    this.stop()
    this.desk.ended()
  }

  private end(): void {
    clearTimeout(this.retryTimer)
    clearTimeout(this.quietTimer)
    const socket = this.socket
    this.socket = null
    this.rejectWaiting()
    this.enter('ended')
    socket?.close()
  }

  private rejectWaiting(): void {
    for (const entry of this.waiting.values()) {
      clearTimeout(entry.timer)
      entry.reject(new ConnectionLostError())
    }
    this.waiting.clear()
  }

  /** Unique on this page, which is all that a request id has to be (crypto.randomUUID is missing on plain http). */
  private nextId(): string {
    this.requests += 1
    return String(this.requests)
  }

  private enter(state: ConnectionState, retryAt: number | null = null): void {
    this.state = state
    this.desk.state(state, retryAt)
  }
}

function socketUrl(page: Location): string {
  return `${page.protocol === 'https:' ? 'wss:' : 'ws:'}//${page.host}/ws/agent`
}
