# Completion of `cis` for fish: what fits here is asked of the command itself.
function __cis
    env _CIS_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=$argv[1] _TYPER_COMPLETE_ARGS=(commandline -cp) cis 2>/dev/null
end
complete --command cis --no-files --condition '__cis is-args' --arguments '(__cis get-args)'
