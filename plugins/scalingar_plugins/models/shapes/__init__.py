"""``shapes``: a miniature text-to-image world whose pictures can be judged exactly.

Nothing heavy is imported here, so that naming the package in a registry stays cheap.  Read in
this order: :mod:`.words` and :mod:`.grammar` (what a prompt may say), :mod:`.heldout` (what
training never says), :mod:`.prompts` (the fixed items), :mod:`.silhouettes` and :mod:`.scenes`
(rendering), :mod:`.judge` (is a picture what its prompt says?), :mod:`.tokenizer` and :mod:`.text`
(the two ends of the generator), :mod:`.generator`, :mod:`.weights` (shipped files), and for
training :mod:`.training_prompts`, :mod:`.stream`, :mod:`.objective`, :mod:`.train_generator` and
:mod:`.train`.
"""
