# Completion of `cis` for bash: what fits here is asked of the command itself.
_cis() {
    local IFS=$'\n'
    mapfile -t COMPREPLY < <(
        COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _CIS_COMPLETE=complete_bash "$1" 2>/dev/null
    )
}
complete -o default -F _cis cis
