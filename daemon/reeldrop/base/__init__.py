"""Records, events, names and file operations that all other packages build on.

Values passed between stages, errors, safe names, durable writes, folders and files of strangers
opened without following links, strict YAML. Knows nothing of inboxes, pipelines or the service.
"""
