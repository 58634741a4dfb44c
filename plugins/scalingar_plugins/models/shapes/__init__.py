"""``shapes``: a miniature text-to-image world whose pictures can be judged exactly.

Nothing heavy is imported here, so that naming the package in a registry stays cheap.  Read in
this order: :mod:`.prompts` (words, specifications, splits), :mod:`.scenes` (rendering),
:mod:`.judge` (is a picture what its prompt says?), :mod:`.tokenizer` and :mod:`.text` (the two
ends of the generator), :mod:`.generator`, :mod:`.weights` (shipped files) and :mod:`.train`.
"""
