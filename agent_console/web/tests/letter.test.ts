import { describe, expect, test } from 'vitest'
import { addScans, emptyLetter, formOf, needsOf } from '../src/console/letter/letter'

const DESK = { today: '2026-11-22', oldest: '2026-09-23', max_scans: 2, max_scan_bytes: 10, max_total_bytes: 15 }
const file = (name: string, size: number, type = '') => new File([new Uint8Array(size)], name, { type })

describe('a letter', () => {
  test('needs a name, an address for an answer by post, and a text or a scan', () => {
    const letter = emptyLetter('2026-11-22', 'ru')
    expect(needsOf(letter, [], DESK)).toEqual(['name', 'address', 'text'])
    const filled = { ...letter, name: 'Анна', address: 'Невский, 28' }
    expect(needsOf(filled, [file('a.pdf', 1)], DESK)).toEqual([])
    expect(needsOf({ ...filled, text: 'Холодно' }, [], DESK)).toEqual([])
    expect(needsOf({ ...filled, answer_by: 'email', text: 'x' }, [], DESK)).toEqual(['email'])
    expect(needsOf({ ...filled, answer_by: 'phone', text: 'x' }, [], DESK)).toEqual(['phone'])
  })
  test('cannot have come tomorrow, nor longer ago than the desk takes', () => {
    const letter = { ...emptyLetter('2026-11-22', 'ru'), name: 'Анна', answer_by: 'page' as const, text: 'x' }
    for (const [received_on, needs] of [['2026-11-23', 1], ['2026-09-22', 1], ['', 1], ['2026-09-23', 0]] as const)
      expect(needsOf({ ...letter, received_on }, [], DESK)).toHaveLength(needs)
  })
  test('is sent first, its scans after it in order', () => {
    const form = formOf(emptyLetter('2026-11-22', 'en'), [file('1.pdf', 1), file('2.pdf', 1)])
    expect([...form.keys()]).toEqual(['letter', 'scan', 'scan'])
    expect((form.getAll('scan') as File[]).map(({ name }) => name)).toEqual(['1.pdf', '2.pdf'])
  })
})

test('scans are taken by their type or name, as far as the limits reach', () => {
  const chosen = [file('page.tif', 5), file('song.mp3', 1, 'audio/mpeg'), file('big.pdf', 11), file('b.PNG', 9), file('c.pdf', 1), file('d.pdf', 2)]
  const { kept, refused } = addScans([], chosen, DESK)
  expect(kept.map(({ name }) => name)).toEqual(['page.tif', 'b.PNG'])
  expect(refused.map(({ key }) => key)).toEqual(['scan_type', 'scan_large', 'scans_many', 'scans_many'])
  expect(addScans([file('a.pdf', 9)], [file('b.pdf', 9)], DESK).refused).toEqual([{ key: 'scans_total', name: 'b.pdf' }])
})
