/** How often a random test goes round: `npm run soak -- tests` repeats it as long as it was found to find anything. */
export const rounds = (inSuite: number, inSoak: number): number =>
  process.env['TSDB_SOAK'] === 'tests' ? inSoak : inSuite
