/** The REST API: JSON in and out, errors as RFC 9457 problems with words for people. */
import type { LocalizedText, Problem } from '../protocol'
import { observeServerTime } from './clock'

const BASE = '/api/v1'
const CSRF_HEADER = { 'X-Okno-Request': '1' } // a foreign page cannot send it

export const UNREACHABLE: LocalizedText = {
  ru: 'Сервер не отвечает. Проверьте соединение и попробуйте ещё раз.',
  en: 'The server does not answer. Check the connection and try again.',
}
const UNREADABLE: LocalizedText = {
  ru: 'Сервер ответил неожиданно. Попробуйте ещё раз чуть позже.',
  en: 'The server answered unexpectedly. Try again a little later.',
}

/** A refused request, with words for people. `status` 0: the server could not be reached. */
export class RequestError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly text: LocalizedText,
    readonly incident: string | null = null,
  ) {
    super(`${status} ${code}`)
  }
}

export const getJson = <T>(path: string) => request<T>('GET', path)
export const postJson = <T>(path: string, body: unknown) =>
  request<T>('POST', path, JSON.stringify(body), { 'Content-Type': 'application/json' })
export const postForm = <T>(path: string, form: FormData) => request<T>('POST', path, form)
export const remove = (path: string) => request<void>('DELETE', path)

/** What a POST of JSON answers, where that is a file. */
export async function postForBytes(path: string, body: unknown): Promise<Blob> {
  const response = await ask('POST', path, JSON.stringify(body), { 'Content-Type': 'application/json' })
  if (!response.ok) throw problemOf(response.status, (await response.json().catch(() => null)) as Partial<Problem> | null)
  return response.blob()
}

async function ask(method: string, path: string, body?: BodyInit, headers: HeadersInit = {}): Promise<Response> {
  try {
    return await fetch(BASE + path, {
      method,
      body,
      headers: { Accept: 'application/json', ...CSRF_HEADER, ...headers },
      credentials: 'same-origin',
      cache: 'no-store',
    })
  } catch {
    throw new RequestError(0, 'unreachable', UNREACHABLE)
  }
}

async function request<T>(method: string, path: string, body?: BodyInit, headers: HeadersInit = {}): Promise<T> {
  const response = await ask(method, path, body, headers)
  observeServerTime(response.headers.get('Date'))
  if (response.status === 204) return undefined as T
  const answer = await response.json().catch(() => null)
  if (!response.ok) throw problemOf(response.status, answer as Partial<Problem> | null)
  if (answer === null) throw new RequestError(response.status, 'unreadable', UNREADABLE)
  return answer as T
}

function problemOf(status: number, problem: Partial<Problem> | null): RequestError {
  return new RequestError(status, problem?.code ?? 'unknown', problem?.message ?? UNREADABLE, problem?.incident ?? null)
}
