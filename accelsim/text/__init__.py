"""Text that people write, and messages about it: YAML with the line of every key, and the nearest valid name.

`parse` of `yaml` makes nodes of a text. `parse_document` of `document` makes plain values of them, with the position of
each; `Reader` of `fields` takes typed fields out of them one by one. Both report everything that is wrong at once.
"""
