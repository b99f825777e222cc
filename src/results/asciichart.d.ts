/** The part that is used of asciichart, which comes without types. */
declare module 'asciichart' {
  /** Draws a line through the values, one column of the terminal for each; lines are separated by line feeds. */
  export function plot(
    series: readonly number[],
    config: { min: number; max: number; height: number; offset: number; format: (value: number) => string },
  ): string
}
