"""`scalingar ui`: a page on which one watches candidates grow, fade and be chosen (extra `ui`).

scene.py    what one has seen of a decode so far, from the observer hooks alone
decodes.py  decodes in threads, token by token in turns, that can be stopped
session.py  from the page's fields to plans; models stay loaded; finished runs by their key
drawing.py  a scene as HTML: pictures, curves, captions
repeat.py   the command and the Python that do it again
page.py     the page: fields, buttons, and what they do (Gradio)
server.py   who may ask for it, and what its pages may load
"""
