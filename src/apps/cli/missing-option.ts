import { Command, CommanderError, Option } from 'commander'

/**
 * The error for an option that does not exist, where a verb fails because it lacks one that must be given: a misspelt one
 * is why, and the parser looks for what is missing first.
 * @param error - what the parser threw
 */
export function misspeltOption(program: Command, args: readonly string[], error: unknown): unknown {
  if (!(error instanceof CommanderError) || error.code !== 'commander.missingMandatoryOptionValue') return undefined
  let verb = program
  const rest = args.filter((word) => {
    const inner = verb.commands.find((command) => command.name() === word)
    verb = inner ?? verb
    return inner === undefined
  })
  // The same options, of which none must be given, and nothing to do.
  const twin = new Command(verb.name()).exitOverride().configureOutput({ outputError: () => undefined })
  for (const { flags, parseArg } of [...program.options, ...verb.options]) {
    const option = new Option(flags)
    twin.addOption(parseArg === undefined ? option : option.argParser(parseArg))
  }
  twin.argument('[words...]').action(() => undefined)
  try {
    twin.parse(rest, { from: 'user' })
  } catch (found) {
    return found
  }
  return undefined
}
