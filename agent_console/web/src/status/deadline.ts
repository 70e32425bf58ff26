/** The legal deadline in plain words. */
import type { CitizenStatusView } from '../protocol'

const DAY = 24 * 60 * 60 * 1000 // ms

export interface DeadlineWords {
  key: 'open' | 'overdue' | 'met' | 'done'
  /** Whole days left; null where there is nothing left to wait for. 0 is today. */
  days: number | null
}

export function deadlineWords(status: CitizenStatusView, now: number): DeadlineWords {
  const deadline = Date.parse(status.deadline_at)
  const answered = status.steps.find((step) => step.stage === 'answered')?.at
  if (answered) return { key: Date.parse(answered) <= deadline ? 'met' : 'done', days: null }
  if (status.stage === 'closed') return { key: 'done', days: null }
  if (deadline < now) return { key: 'overdue', days: null }
  return { key: 'open', days: Math.floor((deadline - now) / DAY) }
}
