/** What the citizen was told last, kept for this tab alone: a reload must not lose number and code. */

export interface SentRecord {
  number: string | null
  code: string | null
  reference: string | null
  contact: string
  joined: boolean
}

const KEY = 'okno.sent'

export function rememberSent(sent: SentRecord): void {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(sent))
  } catch {
    // the page still shows it
  }
}

export function recallSent(): SentRecord | null {
  try {
    const kept: unknown = JSON.parse(sessionStorage.getItem(KEY) ?? 'null')
    return typeof kept === 'object' ? (kept as SentRecord | null) : null
  } catch {
    return null
  }
}

export function forgetSent(): void {
  try {
    sessionStorage.removeItem(KEY)
  } catch {
    // as above
  }
}
