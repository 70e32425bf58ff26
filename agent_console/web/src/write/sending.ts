/** Sends a draft until somebody says what became of it: proof, upload, waiting for the network, trying again. */
import { onScopeDispose, ref, shallowRef } from 'vue'
import { RequestError } from '../shared/http'
import type { Language } from '../shared/preferences'
import { postSubmission, type Outcome } from './api'
import type { Draft } from './draft'
import { Prover } from './prover'

export type Phase = 'editing' | 'proving' | 'sending' | 'waiting'
export type Waiting = 'offline' | 'busy' | 'limited'
export type Ending = Exclude<Outcome, { kind: 'later' } | { kind: 'unproven' }>

const FIRST_DELAY = 5_000 // ms, doubled each time
const LAST_DELAY = 60_000
const MAX_UNPROVEN = 3 // refusals of the proof in a row; then it is treated as a trouble of the server's

const TOO_MANY_REQUESTS = 429

export function delayOf(attempt: number): number {
  return Math.min(FIRST_DELAY * 2 ** attempt, LAST_DELAY)
}

/** What the server is sent. */
export function formOf(draft: Draft, language: Language, replyToken: string): FormData {
  const form = new FormData()
  const texts: Record<string, string> = { submission_id: draft.id, language, text: draft.text, website: draft.website }
  if (replyToken) texts.reply_token = replyToken
  else {
    const contact = draft.answerBy === 'page' ? {} : { [draft.answerBy]: draft[draft.answerBy] }
    Object.assign(texts, { name: draft.name, topic: draft.topic, address: draft.address, answer_by: draft.answerBy, consent: draft.consent }, contact)
  }
  for (const [name, value] of Object.entries(texts)) form.append(name, value)
  for (const file of draft.files) form.append('files', file, file.name)
  return form
}

export function useSending(onEnd: (outcome: Ending) => void) {
  const phase = ref<Phase>('editing')
  const progress = ref(0) // share of the upload
  const waiting = ref<Waiting>('offline')
  const retryAt = ref(0) // by the browser's clock
  const prover = shallowRef<Prover | null>(null)
  let proverOf = ''
  let timer: ReturnType<typeof setTimeout> | undefined
  let again: (() => void) | undefined
  let attempt = 0
  let run = 0 // a later `send` or `stop` makes the ones before it give up

  function proverFor(draft: Draft): Prover {
    if (prover.value === null || proverOf !== draft.id) {
      prover.value = new Prover(draft.id)
      proverOf = draft.id
    }
    return prover.value
  }

  /** Solve the proof of work while the citizen types. */
  const prepare = (draft: Draft) => proverFor(draft).begin()

  async function send(draft: Draft, language: Language, replyToken = ''): Promise<void> {
    clearTimeout(timer)
    run += 1
    const mine = run
    const outcome = await tryOnce(draft, language, replyToken)
    if (mine !== run) return
    if (outcome.kind !== 'later') {
      attempt = 0
      phase.value = 'editing'
      return onEnd(outcome)
    }
    const delay = Math.max(delayOf(attempt), outcome.afterMs ?? 0)
    attempt += 1
    waiting.value = outcome.reason
    retryAt.value = Date.now() + delay
    phase.value = 'waiting'
    again = () => void send(draft, language, replyToken)
    timer = setTimeout(again, delay)
  }

  async function tryOnce(draft: Draft, language: Language, replyToken: string): Promise<Ending | Extract<Outcome, { kind: 'later' }>> {
    const own = proverFor(draft)
    for (let refused = 0; refused < MAX_UNPROVEN; refused += 1) {
      phase.value = 'proving'
      progress.value = 0
      try {
        const proof = await own.get()
        phase.value = 'sending'
        const outcome = await postSubmission(formOf(draft, language, replyToken), draft.id, proof, (share) => (progress.value = share))
        if (outcome.kind !== 'unproven') return outcome
      } catch (error) {
        if (!(error instanceof RequestError)) throw error
        const reason: Waiting = error.status === 0 ? 'offline' : error.status === TOO_MANY_REQUESTS ? 'limited' : 'busy'
        return { kind: 'later', reason, afterMs: null }
      }
      own.forget()
    }
    return { kind: 'later', reason: 'busy', afterMs: null }
  }

  /** Do not wait for the next try. */
  function now(): void {
    if (phase.value === 'waiting') again?.()
  }

  /** Go back to editing; what is under way is not waited for. */
  function stop(): void {
    run += 1
    clearTimeout(timer)
    attempt = 0
    phase.value = 'editing'
  }

  window.addEventListener('online', now)
  onScopeDispose(() => {
    window.removeEventListener('online', now)
    clearTimeout(timer)
  })
  return { phase, progress, waiting, retryAt, prepare, send, now, stop }
}
