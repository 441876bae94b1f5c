-- E-mail addresses that somebody has to confirm, or has confirmed and may yet use. secret is the SHA-256 of what the client keeps, token that
-- of what the letter says: who only has the database can pass for neither. user_id is who asked, '' where that was somebody without an account
-- here, or who cannot get into it. validated_ts is 0 until the address was confirmed.
-- Spec: client-server-api#post_matrixclientv3registeremailrequesttoken
create table email_validations (
	sid          text not null primary key,
	purpose      text not null,
	address      text not null,
	secret       {{blob}} not null,
	user_id      text not null,
	send_attempt bigint not null,
	token        {{blob}} not null,
	next_link    text not null,
	validated_ts bigint not null default 0,
	expires_ts   bigint not null,
	-- ReadTx.EmailValidationFor, Tx.DeleteEmailValidations
	unique (address, purpose, secret, user_id)
) {{rowless}};
-- Tx.DeleteExpiredEmailValidations
create index email_validations_expiry on email_validations (expires_ts);
