/** What is wrong with the form, told before it is sent; the server looks again. */
import type { FormView } from './api'
import type { Draft } from './draft'

export interface Fault {
  field: string
  /** A key below `faults` of the page's texts. */
  key: string
}

const EMAIL = /^[^\s@<>()",;:\\]+@[^\s@<>()",;:\\.]+(\.[^\s@<>()",;:\\.]+)+$/
const MIN_PHONE_DIGITS = 10

/** `adds`: the message joins an appeal whose sender and consent are known. */
export function faultsOf(draft: Draft, form: FormView, consentMark: string, adds: boolean): Fault[] {
  const faults: Fault[] = []
  const add = (field: string, key: string) => faults.push({ field, key })
  if (draft.text.trim() === '') add('text', 'text_missing')
  else if (draft.text.length > form.max_text_chars) add('text', 'text_too_long')
  faults.push(...fileFaults(draft.files, form))
  if (adds) return faults
  if (draft.name.trim() === '') add('name', 'name_missing')
  if (draft.answerBy === 'email' && !EMAIL.test(draft.email.trim())) add('email', draft.email.trim() ? 'email_wrong' : 'email_missing')
  if (draft.answerBy === 'phone' && draft.phone.replace(/\D/g, '').length < MIN_PHONE_DIGITS)
    add('phone', draft.phone.trim() ? 'phone_wrong' : 'phone_missing')
  if (draft.consent === '') add('consent', 'consent_missing')
  else if (draft.consent !== consentMark) add('consent', 'consent_changed')
  return faults
}

function fileFaults(files: readonly File[], form: FormView): Fault[] {
  const total = files.reduce((sum, file) => sum + file.size, 0)
  if (files.length > form.max_files) return [{ field: 'files', key: 'files_too_many' }]
  if (files.some((file) => file.size > form.max_file_bytes)) return [{ field: 'files', key: 'file_too_large' }]
  if (total > form.max_total_bytes) return [{ field: 'files', key: 'files_too_large' }]
  return []
}

export interface Addition {
  kept: File[]
  /** Why the rest was left out; a key below `faults`. */
  refused: { name: string; key: string }[]
}

/** Add files as far as the limits allow; one that is there already is not added twice. */
export function addFiles(there: readonly File[], chosen: readonly File[], form: FormView): Addition {
  const kept = [...there]
  const refused: Addition['refused'] = []
  let total = kept.reduce((sum, file) => sum + file.size, 0)
  for (const file of chosen) {
    const same = kept.some((other) => other.name === file.name && other.size === file.size && other.lastModified === file.lastModified)
    if (same) continue
    if (kept.length >= form.max_files) refused.push({ name: file.name, key: 'files_too_many' })
    else if (file.size > form.max_file_bytes) refused.push({ name: file.name, key: 'file_too_large' })
    else if (total + file.size > form.max_total_bytes) refused.push({ name: file.name, key: 'files_too_large' })
    else if (file.size === 0) refused.push({ name: file.name, key: 'file_empty' })
    else {
      kept.push(file)
      total += file.size
    }
  }
  return { kept, refused }
}
