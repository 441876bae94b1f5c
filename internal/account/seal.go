package account

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
)

// aead is the cipher whose key is made from a secret of the client's, which is stored nowhere.
func aead(secret string) (cipher.AEAD, error) {
	// The database knows SHA-256 of the secret alone; the label makes the key another value.
	key := sha256.Sum256([]byte("hearth auth session\x00" + secret))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal encrypts data so that only who has the secret can read or change it.
func seal(secret string, plain []byte) ([]byte, error) {
	c, err := aead(secret)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, c.NonceSize(), c.NonceSize()+len(plain)+c.Overhead())
	rand.Read(nonce) // never fails
	return c.Seal(nonce, nonce, plain, nil), nil
}

var errSealed = errors.New("sealed data is broken")

// unseal is the reverse of seal.
func unseal(secret string, sealed []byte) ([]byte, error) {
	c, err := aead(secret)
	if err != nil {
		return nil, err
	}
	if len(sealed) < c.NonceSize() {
		return nil, errSealed
	}
	plain, err := c.Open(nil, sealed[:c.NonceSize()], sealed[c.NonceSize():], nil)
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}
