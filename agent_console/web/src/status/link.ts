/** The number and code of a link in an acknowledgement: `/status#n=4827193561&c=…`. A fragment never reaches a log. */
import { formatNumber } from '../shared/format'

export interface Claim {
  number: string
  code: string
}

export function claimOf(fragment: string): Claim {
  const given = new URLSearchParams(fragment.replace(/^#/, ''))
  return { number: formatNumber(given.get('n') ?? ''), code: formatCode(given.get('c') ?? '') }
}

export const formatCode = (raw: string): string => raw.toUpperCase().replace(/\s/g, '')
