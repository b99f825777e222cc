import { Argument, type Command } from 'commander'

const EXAMPLES = `
Put the line of your shell into its start file; it is then never out of date:
  bash   source <(tsdb completion bash)       in ~/.bashrc
  zsh    source <(tsdb completion zsh)        in ~/.zshrc, behind compinit
  fish   tsdb completion fish | source        in ~/.config/fish/config.fish`

/** `tsdb completion`: a script by which a shell completes verbs and options. */
export function addCompletion(command: Command): void {
  command
    .addArgument(new Argument('<shell>', 'whose script').choices(['bash', 'zsh', 'fish']))
    .addHelpText('after', EXAMPLES)
    .action((shell: string) => {
      const places = placesOf(command.parent ?? command, [])
      const script = shell === 'bash' ? bashScript(places) : shell === 'zsh' ? zshScript(places) : fishScript(places)
      process.stdout.write(script)
    })
}

interface Word {
  readonly text: string
  readonly description: string
}

/** A command, and what may follow it. */
interface Place {
  /** `''` for the program, else such as `hypertable/create`. */
  readonly path: string
  readonly verbs: readonly Word[]
  readonly options: readonly Word[]
  /** The options that take a value, which is the next word. */
  readonly valued: readonly string[]
}

function placesOf(command: Command, path: readonly string[]): Place[] {
  const options: Word[] = []
  const valued: string[] = []
  for (let at: Command | null = command; at !== null; at = at.parent) {
    for (const { short, long, description, required, optional } of at.options) {
      const flags = [short, long].filter((flag) => flag !== undefined)
      options.push(...flags.map((text) => ({ text, description })))
      if (required || optional) valued.push(...flags)
    }
  }
  for (const text of ['-h', '--help']) options.push({ text, description: 'show help' })
  // A noun has verbs, a verb may have a first argument of known words.
  const words = command.registeredArguments[0]?.argChoices ?? []
  const verbs = [
    ...command.commands.map((verb) => ({ text: verb.name(), description: verb.description() })),
    ...words.map((text) => ({ text, description: command.registeredArguments[0]?.description ?? '' })),
  ]
  const own = { path: path.join('/'), verbs, options, valued }
  return [own, ...command.commands.flatMap((verb) => placesOf(verb, [...path, verb.name()]))]
}

const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

/** The paths that lead to a command below the program, for the `case` of a shell. */
function paths(places: readonly Place[]): string {
  return places.flatMap(({ path }) => (path === '' ? [] : [path])).join('|')
}

const texts = (words: readonly Word[]): string => words.map(({ text }) => text).join(' ')

/** The words before the cursor lead to a command; a word behind an option that takes a value is passed over. */
function bashScript(places: readonly Place[]): string {
  const cases = places.map(
    ({ path, verbs, options, valued }) =>
      `    ${quote(path)}) verbs=${quote(texts(verbs))} options=${quote(texts(options))} valued=${quote(valued.join(' '))} ;;`,
  )
  return `_tsdb_at() {
  case "$1" in
${cases.join('\n')}
  esac
}
_tsdb() {
  local verbs options valued path= word next index value=
  local current="\${COMP_WORDS[COMP_CWORD]}"
  _tsdb_at ''
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="\${COMP_WORDS[index]}"
    if [[ -n $value ]]; then value=; continue; fi
    if [[ " $valued " == *" $word "* ]]; then value=1; continue; fi
    next="\${path:+$path/}$word"
    case "$next" in
      ${paths(places)}) path="$next"; _tsdb_at "$path" ;;
    esac
  done
  COMPREPLY=()
  # What an option or an argument stands for is not known here: bash completes files.
  if [[ -n $value ]]; then return; fi
  if [[ $current == -* ]]; then COMPREPLY=($(compgen -W "$options" -- "$current"))
  elif [[ -n $verbs ]]; then COMPREPLY=($(compgen -W "$verbs" -- "$current")); fi
}
complete -o default -F _tsdb tsdb
`
}

function zshScript(places: readonly Place[]): string {
  const described = (words: readonly Word[]): string =>
    words.map(({ text, description }) => quote(`${text.replaceAll(':', '\\:')}:${description}`)).join(' ')
  const cases = places.map(
    ({ path, verbs, options, valued }) =>
      `    ${quote(path)}) verbs=(${described(verbs)}) options=(${described(options)}) valued=(${valued.join(' ')}) ;;`,
  )
  return `_tsdb_at() {
  case "$1" in
${cases.join('\n')}
  esac
}
_tsdb() {
  local -a verbs options valued
  local path_ word next index value=
  _tsdb_at ''
  for ((index = 2; index < CURRENT; index++)); do
    word="\${words[index]}"
    if [[ -n $value ]]; then value=; continue; fi
    if (( \${valued[(Ie)$word]} )); then value=1; continue; fi
    next="\${path_:+$path_/}$word"
    case "$next" in
      ${paths(places)}) path_="$next"; _tsdb_at "$path_" ;;
    esac
  done
  if [[ -n $value ]]; then _files
  elif [[ "\${words[CURRENT]}" == -* ]]; then _describe -o option options
  elif (( \${#verbs} )); then _describe verb verbs
  else _files; fi
}
compdef _tsdb tsdb
`
}

function fishScript(places: readonly Place[]): string {
  const fish = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
  const described = (words: readonly Word[]): string =>
    words.map(({ text, description }) => fish(`${text}\t${description}`)).join(' ')
  const cases = places.map(
    ({ path, verbs, options, valued }) => `    case ${fish(path)}
      set -g __tsdb_verbs ${described(verbs)}
      set -g __tsdb_options ${described(options)}
      set -g __tsdb_valued ${valued.join(' ')}`,
  )
  return `function __tsdb_at
  switch $argv[1]
${cases.join('\n')}
  end
end
function __tsdb_wants_file
  set -l path ''
  set -l value ''
  __tsdb_at ''
  set -l before (commandline -opc)
  for word in $before[2..-1]
    if test -n "$value"
      set value ''
    else if contains -- $word $__tsdb_valued
      set value 1
    else
      set -l next (string trim --left --chars=/ -- "$path/$word")
      switch $next
        case ${places.flatMap(({ path }) => (path === '' ? [] : [fish(path)])).join(' ')}
          set path $next
          __tsdb_at $path
      end
    end
  end
  test -n "$value"; and return 0
  string match -q -- '-*' (commandline -ct); and return 1
  not set -q __tsdb_verbs[1]
end
function __tsdb_words
  if string match -q -- '-*' (commandline -ct)
    printf '%s\\n' $__tsdb_options
  else
    printf '%s\\n' $__tsdb_verbs
  end
end
complete -c tsdb -f -n 'not __tsdb_wants_file' -a '(__tsdb_words)'
complete -c tsdb -F -n __tsdb_wants_file
`
}
