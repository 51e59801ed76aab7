// hookstream's API reference, "Create API key": Go.
// Adapted: host, token, and the ids of the organisation and the environment.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	body := strings.NewReader(`{
"name": "Production key",
"org_id": "` + os.Getenv("LATCHKEY_ORG_ID") + `",
"env_id": "` + os.Getenv("LATCHKEY_ENV_ID") + `",
"scopes": "*"
}`)
	req, _ := http.NewRequest("POST", os.Getenv("LATCHKEY_URL")+"/v1/auth/api-keys", body)
	req.Header.Set("Authorization", "Bearer "+os.Getenv("LATCHKEY_TOKEN"))
	req.Header.Set("Content-Type", "application/json")
	resp, _ := http.DefaultClient.Do(req)
	defer resp.Body.Close()
	result, _ := io.ReadAll(resp.Body)
	fmt.Println(string(result))
}
