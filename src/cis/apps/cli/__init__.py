"""The command line: `cis.apps.cli.main` is where it begins."""
