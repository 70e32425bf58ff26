import { sha256 } from '@noble/hashes/sha2.js'
import { describe, expect, test } from 'vitest'
import { outcomeOf, type FormView } from '../src/write/api'
import { addFiles, faultsOf } from '../src/write/check'
import { drawId, emptyDraft, isWritten } from '../src/write/draft'
import { leadingZeroBits, searchSolution } from '../src/write/proof-of-work'

const FORM = { max_text_chars: 100, max_files: 2, max_file_bytes: 10, max_total_bytes: 15 } as FormView
const file = (name: string, size: number) => new File([new Uint8Array(size)], name, { lastModified: 1 })

describe('the proof of work', () => {
  test('counts zero bits from the left', () => {
    expect([[0x80], [0x01], [0x00, 0xff], [0x00, 0x10], []].map((bytes) => leadingZeroBits(Uint8Array.from(bytes)))).toEqual([0, 7, 8, 11, 0])
  })
  test('finds what the server checks: SHA-256 of challenge, colon and counter', () => {
    const wanted = { challenge: '1763812800.10.abcdef', difficulty_bits: 10 }
    const solution = searchSolution(wanted, 0, 100_000)
    expect(leadingZeroBits(sha256(new TextEncoder().encode(`${wanted.challenge}:${solution}`)))).toBeGreaterThanOrEqual(10)
    expect(searchSolution({ ...wanted, difficulty_bits: 256 }, 0, 10)).toBeNull()
  })
})

describe('the check before sending', () => {
  const whole = { ...emptyDraft(), text: 'Нет света', name: 'Анна', consent: 'mark' }
  const fieldsOf = (changed: object, adds = false) => faultsOf({ ...whole, ...changed }, FORM, 'mark', adds).map(({ field, key }) => `${field} ${key}`)
  test('lets a whole form pass, and an addition without name and consent', () => {
    expect(fieldsOf({})).toEqual([])
    expect(fieldsOf({ name: '', consent: '' }, true)).toEqual([])
  })
  test('names every fault by its field', () => {
    expect(fieldsOf({ text: ' ', name: '', consent: '' })).toEqual(['text text_missing', 'name name_missing', 'consent consent_missing'])
    expect(fieldsOf({ text: 'x'.repeat(101), consent: 'older' })).toEqual(['text text_too_long', 'consent consent_changed'])
    expect(fieldsOf({ answerBy: 'email' })).toEqual(['email email_missing'])
    expect(fieldsOf({ answerBy: 'email', email: 'anna@localhost' })).toEqual(['email email_wrong'])
    expect(fieldsOf({ answerBy: 'email', email: ' anna@example.org ' })).toEqual([])
    expect(fieldsOf({ answerBy: 'phone', phone: '12' })).toEqual(['phone phone_wrong'])
    expect(fieldsOf({ answerBy: 'phone', phone: '8 (921) 123-45-67' })).toEqual([])
    expect(fieldsOf({ files: [file('a', 9), file('b', 9)] })).toEqual(['files files_too_large'])
  })
})

test('files are added as far as the limits reach, and none twice', () => {
  const { kept, refused } = addFiles([file('a', 5)], [file('a', 5), file('big', 11), file('', 0), file('b', 9), file('c', 1)], FORM)
  expect(kept.map(({ name }) => name)).toEqual(['a', 'b'])
  expect(refused.map(({ key }) => key)).toEqual(['file_too_large', 'file_empty', 'files_too_many'])
  expect(addFiles([file('a', 9)], [file('b', 9)], FORM).refused).toEqual([{ name: 'b', key: 'files_too_large' }])
})

test('a draft has an id of its own, and is missed only if something was written', () => {
  expect(drawId()).toMatch(/^[0-9a-f]{32}$/)
  expect(drawId()).not.toBe(drawId())
  expect(isWritten(emptyDraft())).toBe(false)
  expect(isWritten({ ...emptyDraft(), files: [file('a', 1)] })).toBe(true)
})

describe('an answer of the server', () => {
  test('registered, under review or refused ends the sending', () => {
    expect(outcomeOf(201, '{"number": "1", "code": "K", "joined": false}', null)).toEqual({ kind: 'registered', number: '1', code: 'K', joined: false })
    expect(outcomeOf(200, '{"number": "1", "code": null, "joined": true}', null)).toMatchObject({ kind: 'registered', code: null })
    expect(outcomeOf(202, '{"reference": "r"}', null)).toEqual({ kind: 'review', reference: 'r' })
    const refused = outcomeOf(422, '{"message": {"ru": "а", "en": "a"}, "faults": [{"field": "text"}]}', null)
    expect(refused).toMatchObject({ kind: 'refused', text: { ru: 'а' }, faults: [{ field: 'text' }] })
  })
  test("of a proxy's own is told, not tried for ever", () => {
    expect(outcomeOf(413, '<html>nginx', null)).toMatchObject({ kind: 'refused', text: { en: expect.stringContaining('too large') } })
    expect(outcomeOf(403, 'blocked', null)).toMatchObject({ kind: 'refused', faults: [] })
    expect(outcomeOf(400, '{"title": "Broken body"}', null)).toMatchObject({ kind: 'refused', text: { en: expect.stringContaining('did not take') } })
    expect(outcomeOf(408, '', null)).toMatchObject({ kind: 'later' })
  })
  test('that says nothing of the appeal means to try again', () => {
    expect(outcomeOf(503, '', '10')).toEqual({ kind: 'later', reason: 'busy', afterMs: 10_000 })
    expect(outcomeOf(429, '{}', '60')).toEqual({ kind: 'later', reason: 'limited', afterMs: 60_000 })
    expect(outcomeOf(200, '<html>a proxy', null)).toMatchObject({ kind: 'later' })
    expect(outcomeOf(0, '', null)).toMatchObject({ kind: 'later' })
    expect(outcomeOf(428, '{}', null)).toEqual({ kind: 'unproven' })
  })
})
