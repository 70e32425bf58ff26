/** What `connectors/web/` answers, and how the form is sent to it. */
import type { LocalizedText } from '../protocol'
import type { Language } from '../shared/preferences'
import type { Proof } from './prover'

export type AnswerBy = 'page' | 'email' | 'phone'

export interface FormView {
  topics: { code: string; title: Record<string, string> }[]
  consent: Record<Language, { text: string; mark: string }>
  answer_by: AnswerBy[]
  max_text_chars: number
  max_files: number
  max_file_bytes: number
  max_total_bytes: number
}

export interface ServerFault {
  field: string
  code: string
  message: LocalizedText
}

export type Outcome =
  | { kind: 'registered'; number: string; code: string | null; joined: boolean }
  | { kind: 'review'; reference: string }
  | { kind: 'refused'; text: LocalizedText | null; faults: ServerFault[] }
  | { kind: 'unproven' }
  | { kind: 'later'; reason: 'offline' | 'busy' | 'limited'; afterMs: number | null }

/** What a proxy or a firewall refuses has no words of ours. */
const FILES_TOO_LARGE: LocalizedText = {
  ru: 'Приложенные файлы слишком велики. Уберите часть из них и отправьте снова.',
  en: 'The attached files are too large. Remove some of them and send again.',
}
const NOT_TAKEN: LocalizedText = {
  ru: 'Сервер не принял обращение. Попробуйте позже или напишите нам другим способом: написанное здесь сохранено.',
  en: 'The server did not take your appeal. Try later, or write to us in another way: what you wrote is kept here.',
}

const ADDRESS = '/api/v1/citizen/appeals'
const BAD_REQUEST = 400
const REQUEST_TIMEOUT = 408
const TOO_LARGE = 413
const PRECONDITION_REQUIRED = 428
const TOO_MANY_REQUESTS = 429
const SERVER_FAULT = 500
const ACCEPTED = 202

/** Post the form; `onProgress` hears the share of it that has been sent. Never rejects: being offline is an outcome. */
export function postSubmission(
  form: FormData,
  submissionId: string,
  proof: Proof,
  onProgress: (share: number) => void,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest() // fetch tells nothing of an upload's progress
    request.open('POST', ADDRESS)
    request.setRequestHeader('Accept', 'application/json')
    request.setRequestHeader('X-Okno-Request', '1')
    request.setRequestHeader('X-Okno-Submission', submissionId)
    request.setRequestHeader('X-Okno-Challenge', proof.challenge)
    request.setRequestHeader('X-Okno-Solution', proof.solution)
    request.upload.onprogress = (event) => onProgress(event.lengthComputable ? event.loaded / event.total : 0)
    request.onload = () => resolve(outcomeOf(request.status, request.responseText, request.getResponseHeader('Retry-After')))
    request.onerror = request.ontimeout = request.onabort = () => resolve({ kind: 'later', reason: 'offline', afterMs: null })
    request.send(form)
  })
}

/** What an answer of the server means for the citizen. */
export function outcomeOf(status: number, body: string, retryAfter: string | null): Outcome {
  const afterMs = retryAfter === null || Number.isNaN(Number(retryAfter)) ? null : Number(retryAfter) * 1000
  if (status === PRECONDITION_REQUIRED) return { kind: 'unproven' }
  if (status === TOO_MANY_REQUESTS) return { kind: 'later', reason: 'limited', afterMs }
  if (status >= SERVER_FAULT || status === 0) return { kind: 'later', reason: 'busy', afterMs }
  const answer = parsed(body)
  if (status === REQUEST_TIMEOUT) return { kind: 'later', reason: 'busy', afterMs }
  if (answer === null && status >= BAD_REQUEST) return { kind: 'refused', text: status === TOO_LARGE ? FILES_TOO_LARGE : NOT_TAKEN, faults: [] }
  if (answer === null) return { kind: 'later', reason: 'busy', afterMs } // a proxy's page: nobody says it was kept
  if (status === ACCEPTED) return { kind: 'review', reference: String(answer.reference) }
  if (status >= 200 && status < 300)
    return { kind: 'registered', number: String(answer.number), code: (answer.code as string | null) ?? null, joined: Boolean(answer.joined) }
  const faults = Array.isArray(answer.faults) ? (answer.faults as ServerFault[]) : []
  return { kind: 'refused', text: (answer.message as LocalizedText | undefined) ?? NOT_TAKEN, faults }
}

function parsed(body: string): Record<string, unknown> | null {
  try {
    const answer: unknown = JSON.parse(body)
    return typeof answer === 'object' && answer !== null ? (answer as Record<string, unknown>) : null
  } catch {
    return null
  }
}
