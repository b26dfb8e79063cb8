"""Every door to the decision support: CDS Hooks, Celery jobs, pages, command line."""
