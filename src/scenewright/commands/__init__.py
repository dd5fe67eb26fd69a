"""One module per subcommand: typed functions that turn words of the command line into calls of the library."""
