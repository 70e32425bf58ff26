import { describe, expect, test } from 'vitest'
import { formatCountdown, formatDate, formatNumber, formatSize, formatSpan, isWholeNumber, urgencyOf } from '../src/shared/format'

const plain = (text: string) => text.replace(/\u00a0|\u202f/g, ' ')

describe('an appeal number', () => {
  test.each([
    ['4827193561', '482-719-3561'],
    ['482 719 3561', '482-719-3561'],
    ['482', '482'],
    ['4827', '482-7'],
    ['482719', '482-719'],
    ['48271935619999', '482-719-3561'],
    ['№ 482-719-3561', '482-719-3561'],
    ['', ''],
  ])('%j is shown as %j', (raw, shown) => expect(formatNumber(raw)).toBe(shown))

  test('is whole with ten digits only', () => {
    expect(isWholeNumber('482-719-3561')).toBe(true)
    expect(isWholeNumber('482-719-356')).toBe(false)
  })
})

test('a span is told in its largest whole unit', () => {
  expect(plain(formatSpan(59_999, 'ru'))).toBe('59 с')
  expect(plain(formatSpan(61 * 60_000, 'ru'))).toBe('1 ч')
  expect(plain(formatSpan(-49 * 3_600_000, 'en'))).toBe('2 days')
})

test('a countdown rounds up and stops at zero', () => {
  expect(formatCountdown(64_001)).toBe('1:05')
  expect(formatCountdown(-5)).toBe('0:00')
})

test('a Russian date ends without an abbreviation that would double the full stop', () => {
  expect(plain(formatDate('2026-12-19T12:00:00Z', 'ru'))).toBe('19 декабря 2026')
})

test('sizes are told in the reader’s units', () => {
  expect(plain(formatSize(1_284_113, 'ru'))).toBe('1,3 МБ')
  expect(plain(formatSize(999, 'en'))).toBe('999 byte')
})

test('a deadline is overdue, urgent within a day, soon within five', () => {
  const now = Date.parse('2026-11-22T10:00:00Z')
  expect(urgencyOf('2026-11-22T09:59:59Z', now)).toBe('overdue')
  expect(urgencyOf('2026-11-23T09:00:00Z', now)).toBe('urgent')
  expect(urgencyOf('2026-11-26T10:00:00Z', now)).toBe('soon')
  expect(urgencyOf('2026-12-22T10:00:00Z', now)).toBe('calm')
})
