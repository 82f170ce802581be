"""The shell: everything that does I/O around the pure core in a worker.

Packages, top first; each may import those below it, and import-linter enforces this (`pyproject.toml`):

    app          the application for Faust's own command line
    worker       the Faust application: assignment, start of tasks, the loops of a worker
    tasks        partition tasks and repartition tasks: records in, outputs out
    monitoring   HTTP, recovery progress, silent topics, the last failure, logs
    commit       one commit protocol for both processing guarantees
    admin        topics and erasure requests
    faults, clock   reasons for a worker to end; trust in the wall clock
"""
