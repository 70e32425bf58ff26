/** The proof of work of `connectors/web/proof_of_work.py`: a counter whose SHA-256 with the challenge begins with zeros. */
import { sha256 } from '@noble/hashes/sha2.js'

const BITS_OF_A_BYTE = 8

export interface Challenge {
  challenge: string
  difficulty_bits: number
}

/** With how many zero bits the bytes begin. */
export function leadingZeroBits(bytes: Uint8Array): number {
  let bits = 0
  for (const byte of bytes) {
    if (byte !== 0) return bits + Math.clz32(byte) - (32 - BITS_OF_A_BYTE)
    bits += BITS_OF_A_BYTE
  }
  return bits
}

/**
 * Look for a solution among `count` counters from `from` on; null if it is not there.
 * crypto.subtle would be asynchronous for each hash, and is missing where a page comes over plain http.
 */
export function searchSolution(wanted: Challenge, from: number, count: number): string | null {
  const encoder = new TextEncoder()
  const start = sha256.create().update(encoder.encode(`${wanted.challenge}:`)) // the part that is always the same, hashed once
  const hash = sha256.create()
  for (let counter = from; counter < from + count; counter += 1) {
    const digits = String(counter)
    if (leadingZeroBits(start._cloneInto(hash).update(encoder.encode(digits)).digest()) >= wanted.difficulty_bits) return digits
  }
  return null
}
