/** Numbers, times and sizes as people read them. */
import type { Language } from './preferences'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const NUMBER_LENGTH = 10

/** `4827193561` → `482-719-3561`, also while it is being typed. */
export function formatNumber(raw: string): string {
  const digits = raw.replace(/\D/g, '').slice(0, NUMBER_LENGTH)
  return [digits.slice(0, 3), digits.slice(3, 6), digits.slice(6)].filter(Boolean).join('-')
}

export const isWholeNumber = (raw: string): boolean => raw.replace(/\D/g, '').length === NUMBER_LENGTH

/** A span in its largest whole unit: `3 ч`, `2 дн.`; under a minute in seconds. */
export function formatSpan(milliseconds: number, language: Language): string {
  const span = Math.abs(milliseconds)
  const [value, unit] =
    span < MINUTE
      ? [Math.floor(span / SECOND), 'second']
      : span < HOUR
        ? [Math.floor(span / MINUTE), 'minute']
        : span < DAY
          ? [Math.floor(span / HOUR), 'hour']
          : [Math.floor(span / DAY), 'day']
  return new Intl.NumberFormat(language, { style: 'unit', unit: unit as string, unitDisplay: 'short' }).format(value as number)
}

/** Minutes and seconds left of a countdown, never negative: `1:05`. */
export function formatCountdown(milliseconds: number): string {
  const seconds = Math.max(0, Math.ceil(milliseconds / SECOND))
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
}

/** A day with its year; without the Russian "г.", which would double a sentence's full stop. */
export const formatDate = (iso: string, language: Language): string =>
  new Intl.DateTimeFormat(language, { day: 'numeric', month: 'long', year: 'numeric' })
    .format(new Date(iso))
    .replace(/\sг\.$/, '')

/** Day and time; the year only where it is not this one. */
export function formatMoment(iso: string, language: Language, now: number): string {
  const at = new Date(iso)
  const thisYear = at.getFullYear() === new Date(now).getFullYear()
  return new Intl.DateTimeFormat(language, {
    day: 'numeric',
    month: 'short',
    year: thisYear ? undefined : 'numeric',
    hour: '2-digit',
    minute: '2-digit',
  }).format(at)
}

export function formatSize(bytes: number, language: Language): string {
  const [value, unit] =
    bytes < 1000 ? [bytes, 'byte'] : bytes < 1e6 ? [bytes / 1e3, 'kilobyte'] : [bytes / 1e6, 'megabyte']
  return new Intl.NumberFormat(language, {
    style: 'unit',
    unit: unit as string,
    unitDisplay: 'short',
    maximumFractionDigits: 1,
  }).format(value as number)
}

/** A language's name in the reader's language; nothing for "und". */
export function formatLanguage(tag: string, language: Language): string {
  if (tag === '' || tag === 'und') return ''
  try {
    return new Intl.DisplayNames(language, { type: 'language' }).of(tag) ?? tag
  } catch {
    return tag // not a BCP 47 tag
  }
}

export type Urgency = 'calm' | 'soon' | 'urgent' | 'overdue'

const SOON = 5 * DAY
const URGENT = 1 * DAY

/** How close a deadline is. */
export function urgencyOf(deadline: string, now: number): Urgency {
  const left = Date.parse(deadline) - now
  return left < 0 ? 'overdue' : left < URGENT ? 'urgent' : left < SOON ? 'soon' : 'calm'
}
