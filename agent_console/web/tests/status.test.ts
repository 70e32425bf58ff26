import { describe, expect, test } from 'vitest'
import type { CitizenStatusView } from '../src/protocol'
import { deadlineWords } from '../src/status/deadline'
import { claimOf } from '../src/status/link'

const NOW = Date.parse('2026-11-22T10:00:00Z')

function appeal(stage: CitizenStatusView['stage'], answeredAt: string | null, deadline: string): CitizenStatusView {
  return { stage, steps: [{ stage: 'answered', at: answeredAt }], deadline_at: deadline } as unknown as CitizenStatusView
}

describe('a link', () => {
  test('fills in the number with its dashes and the code in upper case', () => {
    expect(claimOf('#n=4827193561&c=7kq4-9dmx')).toEqual({ number: '482-719-3561', code: '7KQ4-9DMX' })
  })
  test('of another kind fills in nothing', () => expect(claimOf('#top')).toEqual({ number: '', code: '' }))
})

describe('the deadline', () => {
  test('counts whole days while the answer is awaited, 0 being the last day', () => {
    expect(deadlineWords(appeal('in_progress', null, '2026-11-25T11:00:00Z'), NOW)).toEqual({ key: 'open', days: 3 })
    expect(deadlineWords(appeal('registered', null, '2026-11-22T20:00:00Z'), NOW)).toEqual({ key: 'open', days: 0 })
  })
  test('that has passed without an answer is admitted', () => {
    expect(deadlineWords(appeal('in_progress', null, '2026-11-21T00:00:00Z'), NOW).key).toBe('overdue')
  })
  test('is met by an answer before it, and only by one before it', () => {
    expect(deadlineWords(appeal('answered', '2026-11-20T00:00:00Z', '2026-11-21T00:00:00Z'), NOW).key).toBe('met')
    expect(deadlineWords(appeal('answered', '2026-11-22T00:00:00Z', '2026-11-21T00:00:00Z'), NOW).key).toBe('done')
  })
  test('of an appeal closed without an answer is not called met', () => {
    expect(deadlineWords(appeal('closed', null, '2026-12-21T00:00:00Z'), NOW).key).toBe('done')
  })
})
