"""What the commands' exit codes mean."""

EXIT_ERROR = 1  # failed; or `doctor` found something
EXIT_CONFIGURATION = 2  # the command line, the settings or an input file have faults
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
