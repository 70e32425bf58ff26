import { expect, test } from 'vitest'
import { explain } from '../src/console/explanation'

test('a placement names the rule, the queue and the priority', () => {
  const [explained] = explain({ kind: 'place', rule: 'everything else', queue: 'triage', priority: 30 })
  expect(explained).toMatchObject({ key: 'place', named: { rule: 'everything else', queue: 'triage', priority: 30 } })
})

test('an offer names who was chosen, among whom, and what decided', () => {
  const [explained] = explain({
    kind: 'offer',
    direction: 'agent_for_appeal',
    chosen: 'anna',
    step: 0,
    requires: { skills: { housing: 2 } },
    candidates: [
      { agent: 'anna', load: 1, capacity: 6 },
      { agent: 'boris', load: 3, capacity: 6 },
    ],
    free: 5,
    decided_by: 'load',
  })
  expect(explained).toMatchObject({ key: 'offer', named: { agent: 'anna', step: 1, skills: 'housing 2' }, decidedBy: 'load', others: 3 })
  expect(explained?.candidates.map((one) => one.chosen)).toEqual([true, false])
})

test('the candidates of a freed agent are appeals, and not shown as people', () => {
  const [explained] = explain({ kind: 'offer', direction: 'appeal_for_agent', chosen: 'anna', candidates: [{ appeal: 'x' }], waiting_here: 7 })
  expect(explained).toMatchObject({ key: 'offer_to_freed', candidates: [], named: { waiting: 7 } })
})

test('a record of an unknown kind or shape is left to the whole record', () => {
  expect(explain({ kind: 'merge' })).toEqual([])
  expect(explain({})).toEqual([])
  expect(explain({ kind: 'offer', candidates: 'none', requires: null })).toMatchObject([{ key: 'offer', candidates: [] }])
})

test('decisions that were recorded at once are explained one after the other', () => {
  const record = { schema: 'okno.decision/1', decisions: [{ kind: 'place', rule: 'housing' }, { kind: 'offer', chosen: 'anna' }] }
  expect(explain(record).map((one) => one.key)).toEqual(['place', 'offer'])
})
