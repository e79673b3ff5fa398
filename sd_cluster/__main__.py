"""`python -m sd_cluster`: the command line where its script is not on the path."""

from sd_cluster.cli import main

if __name__ == "__main__":
    main()
