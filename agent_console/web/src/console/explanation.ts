/** A routing decision's record (router/record.py) in the words of an agent. What is unknown stays in the whole record. */
export interface Explanation {
  key: string // under `why.`
  named: Record<string, string | number>
  decidedBy: string | null // under `why.decided_by.`
  candidates: { name: string; load: number; capacity: number; chosen: boolean }[]
  others: number // free agents who were not named
}

type JsonRecord = Record<string, unknown>

const text = (value: unknown): string => (typeof value === 'string' ? value : '')
const count = (value: unknown): number => (typeof value === 'number' ? value : 0)

function skillsOf(record: JsonRecord): string {
  const requires = record.requires as { skills?: Record<string, number> } | undefined
  return Object.entries(requires?.skills ?? {})
    .map(([skill, level]) => `${skill} ${level}`)
    .join(', ')
}

function candidatesOf(record: JsonRecord): Explanation['candidates'] {
  if (record.direction !== 'agent_for_appeal' || !Array.isArray(record.candidates)) return []
  return (record.candidates as JsonRecord[]).map((one) => ({
    name: text(one.agent),
    load: count(one.load),
    capacity: count(one.capacity),
    chosen: one.agent === record.chosen,
  }))
}

/** The explanations of what was recorded at once, in its order; kinds that we do not know are left out. */
export function explain(record: JsonRecord): Explanation[] {
  const decisions = Array.isArray(record.decisions) ? (record.decisions as JsonRecord[]) : [record]
  return decisions.map(explainOne).filter((explanation) => explanation !== null)
}

function explainOne(record: JsonRecord): Explanation | null {
  const candidates = candidatesOf(record)
  const common = {
    decidedBy: text(record.decided_by) || null,
    candidates,
    others: Math.max(0, count(record.free) - candidates.length),
  }
  switch (record.kind) {
    case 'place':
      return { ...common, key: 'place', named: { rule: text(record.rule), queue: text(record.queue), priority: count(record.priority) } }
    case 'offer':
      return {
        ...common,
        key: record.direction === 'appeal_for_agent' ? 'offer_to_freed' : 'offer',
        named: {
          agent: text(record.chosen),
          step: count(record.step) + 1,
          skills: skillsOf(record),
          waiting: count(record.waiting_here),
        },
      }
    case 'lapse':
      return { ...common, key: record.state === 'timed_out' ? 'timed_out' : 'rescinded', named: { agent: text(record.agent) } }
    default:
      return null
  }
}
