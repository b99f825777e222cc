/** How often a random test goes round: `npm run soak -- tests` repeats it more often. */
export const rounds = (inSuite: number, inSoak: number): number =>
  process.env['TSDB_SOAK'] === 'tests' ? inSoak : inSuite
