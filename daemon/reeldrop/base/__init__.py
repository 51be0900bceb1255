"""Records, names and files that every other package stands on.

Values that pass between stages, errors, safe names, durable writes, paths that are walked without
following links, strict YAML. Knows nothing of inboxes, pipelines or the service.
"""
