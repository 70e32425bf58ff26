/** The agent's desk: offers, held appeals, the open conversation, all of it as the server tells. */
import { defineStore } from 'pinia'
import { computed, ref, shallowRef } from 'vue'
import type { AgentView, AppealDetail, AppealSummary, LocalizedText, OfferView, SetStatus, Snapshot } from '../protocol'
import { serverNow } from '../shared/clock'
import { Connection, ConnectionLostError, type Answer, type Command, type ConnectionState, type QueueMessage } from './connection'
import { useDrafts } from './drafts'
import { useSession } from './session'

type CommandAck = Extract<Answer, { type: 'ack' }>

const UNSENT = new Set(['queued', 'sending'])
const LEFT = new Set(['closed', 'waiting', 'registered']) // states in which an appeal is on nobody's desk
const DELIVERY_POLL = 3_000 // ms; how far an answer has got is news only to those who look at it

/** What the person is told: our own words by their key, or the server's. */
export interface Notice {
  kind: 'success' | 'error'
  key?: string
  number?: string
  text?: LocalizedText
  incident?: string | null
}

export const useDesk = defineStore('desk', () => {
  const agent = ref<AgentView | null>(null)
  const offers = ref<OfferView[]>([])
  const appeals = ref<AppealSummary[]>([])
  const selectedId = ref<string | null>(null)
  const detail = shallowRef<AppealDetail | null>(null)
  const connection = ref<ConnectionState>('ended')
  const retryAt = ref<number | null>(null)
  const notice = shallowRef<Notice | null>(null)
  const announced = shallowRef<OfferView | null>(null) // the newest offer, for the screen reader
  const drafts = useDrafts()
  let deliveryTimer: ReturnType<typeof setTimeout> | undefined

  const online = computed(() => connection.value === 'online')
  /** The nearest deadline on top: the order in which the law wants them. */
  const sorted = computed(() => [...appeals.value].sort((a, b) => Date.parse(a.deadline_at) - Date.parse(b.deadline_at)))

  const link = new Connection({
    state: (state, at) => {
      connection.value = state
      retryAt.value = at
    },
    snapshot: takeSnapshot,
    queueMessage: take,
    ended: () => {
      useSession().forget()
      clear()
    },
    sessionLives: () => useSession().load(),
  })

  function start(): void {
    link.start()
  }

  function stop(): void {
    link.stop()
    clear()
  }

  function clear(): void {
    agent.value = null
    offers.value = []
    appeals.value = []
    select(null)
  }

  // ---- what arrives

  function takeSnapshot(snapshot: Snapshot): void {
    agent.value = snapshot.agent
    offers.value = snapshot.offers.filter((offer) => Date.parse(offer.due_at) > serverNow())
    appeals.value = snapshot.appeals
    if (selectedId.value !== null) void refresh(selectedId.value)
  }

  function take(message: QueueMessage): void {
    switch (message.type) {
      case 'offer':
        return takeOffer(message)
      case 'offer_gone':
        return dropOffer(message.offer_id)
      case 'status':
        if (agent.value) agent.value = { ...agent.value, status: message.status, status_since: new Date(serverNow()).toISOString() }
        return
      case 'appeal_changed':
        return changed(message.appeal_id, message.version)
    }
  }

  function takeOffer(offer: OfferView): void {
    if (Date.parse(offer.due_at) <= serverNow()) return // a resumed queue tells old news
    if (offers.value.some((known) => known.offer_id === offer.offer_id)) return
    offers.value = [...offers.value, offer]
    announced.value = offer
  }

  function dropOffer(offerId: string): void {
    offers.value = offers.value.filter((offer) => offer.offer_id !== offerId)
  }

  function changed(appealId: string, version: number): void {
    const shown = detail.value?.appeal.id === appealId ? detail.value.appeal : appeals.value.find((one) => one.id === appealId)
    if (shown === undefined || shown.version < version) void refresh(appealId)
  }

  /** Take an appeal's newest summary; it leaves the list when it is no longer ours. */
  function takeSummary(summary: AppealSummary): void {
    const known = appeals.value.find((one) => one.id === summary.id)
    if (known && known.version > summary.version) return
    const mine = summary.state === 'assigned' && summary.agent_id === agent.value?.id
    const others = appeals.value.filter((one) => one.id !== summary.id)
    appeals.value = mine ? [...others, summary] : others
    if (detail.value?.appeal.id === summary.id && detail.value.appeal.version <= summary.version)
      detail.value = { ...detail.value, appeal: summary }
  }

  /** Read an appeal again. Its refusal only means that it is not ours any more. */
  async function refresh(appealId: string): Promise<void> {
    let answer: Answer
    try {
      answer = await link.request({ type: 'open', appeal_id: appealId })
    } catch (error) {
      if (error instanceof ConnectionLostError) return // the snapshot after the reconnection asks again
      appeals.value = appeals.value.filter((one) => one.id !== appealId)
      if (selectedId.value === appealId) select(null)
      return
    }
    if (answer.type === 'opened') takeDetail(answer.detail)
  }

  function takeDetail(newer: AppealDetail): void {
    takeSummary(newer.appeal)
    const appealId = newer.appeal.id
    if (selectedId.value !== appealId) return
    if (detail.value?.appeal.id === appealId && detail.value.appeal.version > newer.appeal.version) return
    detail.value = newer
    settleUnconfirmed(newer)
    followDelivery(newer)
  }

  /** An answer that was sent as the connection went: if it stands in the conversation, its draft has done its work. */
  function settleUnconfirmed(newer: AppealDetail): void {
    const draft = drafts.draftOf(newer.appeal.id)
    if (draft.unconfirmed === null) return
    const arrived = alike(newer, draft.unconfirmed.text) > draft.unconfirmed.alike
    draft.unconfirmed = null
    if (!arrived) return tell({ kind: 'error', key: 'notice.not_sent' })
    drafts.clear(newer.appeal.id)
    tell({ kind: 'success', key: 'notice.was_sent' })
  }

  function followDelivery(shown: AppealDetail): void {
    clearTimeout(deliveryTimer)
    if (!shown.replies.some((reply) => UNSENT.has(reply.state))) return
    deliveryTimer = setTimeout(() => {
      if (selectedId.value === shown.appeal.id) void refresh(shown.appeal.id)
    }, DELIVERY_POLL)
  }

  const alike = (shown: AppealDetail | null, text: string): number =>
    shown?.replies.filter((reply) => reply.kind === 'answer' && reply.text === text).length ?? 0

  // ---- what the agent does

  function select(appealId: string | null): void {
    if (selectedId.value === appealId && appealId !== null) return
    clearTimeout(deliveryTimer)
    selectedId.value = appealId
    detail.value = null
    if (appealId !== null) void refresh(appealId)
  }

  function move(step: 1 | -1): void {
    const list = sorted.value
    if (list.length === 0) return
    const at = list.findIndex((one) => one.id === selectedId.value)
    const next = at === -1 ? (step === 1 ? 0 : list.length - 1) : Math.min(list.length - 1, Math.max(0, at + step))
    select(list[next]?.id ?? null)
  }

  async function setStatus(status: SetStatus['status']): Promise<void> {
    const answer = await command({ type: 'set_status', status })
    if (answer.agent) agent.value = answer.agent
  }

  async function accept(offer: OfferView): Promise<void> {
    const answer = await command({ type: 'accept', offer_id: offer.offer_id }).catch((error: unknown) => {
      if (!(error instanceof ConnectionLostError)) dropOffer(offer.offer_id)
      throw error
    })
    dropOffer(offer.offer_id)
    if (answer.appeal) takeSummary(answer.appeal)
    select(offer.appeal_id)
  }

  async function decline(offer: OfferView, reason: string): Promise<void> {
    await command({ type: 'decline', offer_id: offer.offer_id, reason })
    dropOffer(offer.offer_id)
  }

  /** Write to the citizen. Of a lost connection the conversation will tell whether the answer went. */
  async function reply(appeal: AppealSummary, close: boolean): Promise<void> {
    const draft = drafts.draftOf(appeal.id)
    const text = draft.text.trim()
    const attachments = draft.uploads.map((upload) => upload.id)
    try {
      const answer = await command({ type: 'reply', appeal_id: appeal.id, version: appeal.version, text, close, attachments })
      drafts.clear(appeal.id)
      done(answer, appeal, close ? 'notice.sent_closed' : 'notice.sent')
    } catch (error) {
      if (error instanceof ConnectionLostError) draft.unconfirmed = { text, alike: alike(detail.value, text) }
      else void refresh(appeal.id) // stale: show what changed; the draft stays
      throw error
    }
  }

  async function closeAppeal(appeal: AppealSummary, reason: string): Promise<void> {
    done(await command({ type: 'close', appeal_id: appeal.id, version: appeal.version, reason }), appeal, 'notice.closed')
  }

  async function release(appeal: AppealSummary, note: string): Promise<void> {
    done(await command({ type: 'release', appeal_id: appeal.id, version: appeal.version, note }), appeal, 'notice.released')
  }

  /** Write down what a message says that came as pictures; passed on, it leaves the desk. */
  async function transcribe(appeal: AppealSummary, envelopeId: string, text: string, passOn: boolean): Promise<void> {
    const answer = await command({ type: 'transcribe', appeal_id: appeal.id, version: appeal.version, envelope_id: envelopeId, text, pass_on: passOn })
    done(answer, appeal, passOn ? 'notice.passed_on' : 'notice.transcribed')
  }

  async function split(appeal: AppealSummary, envelopeId: string): Promise<void> {
    const answer = await command({ type: 'split', appeal_id: appeal.id, version: appeal.version, envelope_id: envelopeId })
    done(answer, appeal, 'notice.split', answer.other?.number)
  }

  async function moveMessage(appeal: AppealSummary, envelopeId: string, toNumber: string): Promise<void> {
    const answer = await command({ type: 'move_message', appeal_id: appeal.id, version: appeal.version, envelope_id: envelopeId, to_number: toNumber })
    done(answer, appeal, 'notice.moved', answer.other?.number)
  }

  async function sendAgain(appeal: AppealSummary, replyId: string): Promise<void> {
    await command({ type: 'send_again', appeal_id: appeal.id, reply_id: replyId })
    tell({ kind: 'success', key: 'notice.sent', number: appeal.number })
    void refresh(appeal.id)
  }

  /** After a command on an appeal: stay to see how an answer gets on, but after a closing or a release go on. */
  function done(answer: CommandAck, appeal: AppealSummary, key: string, number = appeal.number): void {
    const list = sorted.value
    const at = list.findIndex((one) => one.id === appeal.id)
    const next = list[at + 1] ?? list[at - 1] ?? null
    if (answer.appeal) takeSummary(answer.appeal)
    tell({ kind: 'success', key, number })
    if (selectedId.value !== appeal.id) return
    if (LEFT.has(answer.appeal?.state ?? '')) select(next?.id ?? null)
    else void refresh(appeal.id)
  }

  async function command(message: Command): Promise<CommandAck> {
    const answer = await link.request(message)
    if (answer.type !== 'ack') throw new Error(`${message.type} was answered by ${answer.type}`)
    return answer
  }

  function tell(told: Notice): void {
    notice.value = told
  }

  return {
    agent, offers, appeals, sorted, selectedId, detail, connection, retryAt, online, notice, announced,
    start, stop, retryNow: () => link.retryNow(), select, move, setStatus, accept, decline, reply, closeAppeal, release, transcribe, split, moveMessage, sendAgain, tell, dropOffer,
  }
})
