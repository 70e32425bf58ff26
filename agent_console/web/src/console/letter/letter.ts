/** A letter while it is typed in: what is missing, which scans may be added, what the server is sent. */
import type { LetterDeskView, LetterRequest } from '../../protocol'

export type LetterDraft = Required<LetterRequest>
export type Need = 'name' | 'address' | 'email' | 'phone' | 'text' | 'received_on'

const SCAN_TYPES = new Set(['application/pdf', 'image/tiff', 'image/jpeg', 'image/png'])
const SCAN_NAMES = /\.(pdf|tiff?|jpe?g|png)$/i // where the system knows no type

/** 32 hexadecimal digits: the same for every try of one letter. */
export const drawId = (): string =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')

export const emptyLetter = (today: string, language: 'ru' | 'en'): LetterDraft => ({
  id: drawId(),
  channel: 'paper',
  received_on: today,
  incoming_number: '',
  name: '',
  answer_by: 'post',
  address: '',
  email: '',
  phone: '',
  subject: '',
  text: '',
  language,
})

/** The first thing of each field that is missing; ISO dates compare as text. */
export function needsOf(letter: LetterDraft, scans: readonly File[], desk: LetterDeskView): Need[] {
  const needs: Need[] = []
  if (!(letter.received_on >= desk.oldest && letter.received_on <= desk.today)) needs.push('received_on')
  if (letter.name.trim() === '') needs.push('name')
  if (letter.answer_by === 'post' && letter.address.trim() === '') needs.push('address')
  if (letter.answer_by === 'email' && letter.email.trim() === '') needs.push('email')
  if (letter.answer_by === 'phone' && letter.phone.trim() === '') needs.push('phone')
  if (letter.text.trim() === '' && scans.length === 0) needs.push('text')
  return needs
}

export type ScanRefusal = { key: 'scan_type' | 'scan_large' | 'scans_many' | 'scans_total'; name: string }

/** Add scans as far as the desk's limits allow. */
export function addScans(there: readonly File[], chosen: readonly File[], desk: LetterDeskView): { kept: File[]; refused: ScanRefusal[] } {
  const kept = [...there]
  const refused: ScanRefusal[] = []
  let total = kept.reduce((sum, file) => sum + file.size, 0)
  for (const file of chosen) {
    if (!SCAN_TYPES.has(file.type) && !SCAN_NAMES.test(file.name)) refused.push({ key: 'scan_type', name: file.name })
    else if (file.size > desk.max_scan_bytes) refused.push({ key: 'scan_large', name: file.name })
    else if (kept.length >= desk.max_scans) refused.push({ key: 'scans_many', name: file.name })
    else if (total + file.size > desk.max_total_bytes) refused.push({ key: 'scans_total', name: file.name })
    else {
      kept.push(file)
      total += file.size
    }
  }
  return { kept, refused }
}

/** What `POST /api/v1/letters` takes: the letter first, then its scans. */
export function formOf(letter: LetterDraft, scans: readonly File[]): FormData {
  const form = new FormData()
  form.append('letter', JSON.stringify(letter))
  for (const scan of scans) form.append('scan', scan, scan.name)
  return form
}
