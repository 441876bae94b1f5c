-- Annotated: whether a user has annotated an event that very many may have annotated.
create index relations_annotator on relations (parent, sender) where rel_type = 'm.annotation';
