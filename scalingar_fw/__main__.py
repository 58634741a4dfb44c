"""`python -m scalingar_fw`: the command line, where the script is not on the path."""

from scalingar_fw.cli import main

if __name__ == "__main__":
    main(prog_name="scalingar")
