-- Search: which events' texts hold a word. The text itself stays in the event.
create virtual table search using fts5 (body, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2');
