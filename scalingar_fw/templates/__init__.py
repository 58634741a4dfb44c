"""Files that `scalingar plugins new` writes; `{{name}}`, `{{package}}`, `{{Class}}` are filled in."""
